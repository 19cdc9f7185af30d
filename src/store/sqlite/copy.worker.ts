// The thread of one copy: makes it, checks it, and tells how far it is. It lives for one command.

import { listen, parentThread } from "../../base/thread.ts";
import { type CopyFacts, checkCopy, copyBytes, Damaged, makeRestored, vacuumInto } from "./copy.ts";
import { failureText } from "./failure_text.ts";

export type CopyWork = {
  readonly work: "backup" | "restore";
  readonly source: string;
  readonly target: string;
};

export type CopyAnswer =
  | { readonly kind: "checking" }
  | { readonly kind: "done"; readonly facts: CopyFacts }
  | { readonly kind: "failed"; readonly detail: string };

const tell = (answer: CopyAnswer) => parentThread.postMessage(JSON.stringify(answer));

listen(parentThread, (text: string) => {
  const work = JSON.parse(text) as CopyWork;
  try {
    copy(work);
    tell({ kind: "checking" });
    tell({ kind: "done", facts: checkCopy(work.target) });
  } catch (error) {
    tell({ kind: "failed", detail: whyFailed(work, error) });
  }
});

function copy({ work, source, target }: CopyWork): void {
  if (work === "backup") vacuumInto(source, target);
  else {
    copyBytes(source, target);
    makeRestored(target);
  }
}

function whyFailed({ source }: CopyWork, error: unknown): string {
  if (error instanceof Damaged) return `${source} is damaged (${error.message}), so nothing was made of it.`;
  return failureText(source, error);
}
