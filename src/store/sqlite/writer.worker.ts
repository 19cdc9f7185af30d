// The writer thread: opens the database file on its first message, and commits what comes from then on
// (group_commit.ts).

import { listen, parentThread } from "../../base/thread.ts";
import type { LargeLog } from "./checkpoint.ts";
import { openEngine } from "./engine.ts";
import { GroupCommit } from "./group_commit.ts";
import { LARGE_LOG } from "./log_words.ts";
import type { Durability } from "./pragma.ts";

/**
 * The first message. `delivery` is one end of a channel whose other end the delivery thread has; null when nothing is
 * delivered, and then nobody is woken for it.
 */
export type WriterInit = {
  readonly file: string;
  readonly durability: Durability;
  readonly encryptionKeys: readonly string[];
  readonly delivery: MessagePort | null;
};

/** The first answer, as JSON. */
export type WriterReady =
  | { readonly kind: "opened"; readonly lastSeq: number }
  | { readonly kind: "refused"; readonly detail: string };

listen(parentThread, (data: WriterInit) => {
  let isBeingCopied = false;
  const largeLog: LargeLog = {
    isBeingCopied: () => isBeingCopied,
    copy() {
      isBeingCopied = true;
      parentThread.postMessage(LARGE_LOG);
    },
  };
  const opened = openEngine(data.file, { ...data, largeLog });
  if (opened.kind === "opened") {
    const onLogCopied = () => {
      isBeingCopied = false;
    };
    new GroupCommit(opened.engine, parentThread, data.delivery, onLogCopied).start();
  }
  const ready: WriterReady = opened.kind === "opened" ? { kind: "opened", lastSeq: opened.lastSeq } : opened;
  parentThread.postMessage(JSON.stringify(ready));
  if (opened.kind === "opened") opened.engine.warm();
});
