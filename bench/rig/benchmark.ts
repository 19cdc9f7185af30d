// What a benchmark is: one question, its options, and what it found. Each question is a file of bench/; the report and
// the command line know nothing of it but this.

/** What can be set with `--name=value` (lists: `--clients=1,64`). Durations in seconds, sizes in events. */
export type Options = Readonly<Record<string, number | readonly number[]>>;

export type Benchmark<O extends Options = Options> = {
  /** The word on the command line and the name of the file with its results. */
  readonly name: string;
  /** One sentence, for the list of benchmarks and the head of its report. */
  readonly question: string;
  readonly usual: O;
  /** A few seconds in all: shows that it works, not how fast anything is. */
  readonly brief: O;
  /** Throws when it could not measure at all. */
  measure(options: O): Promise<Findings>;
};

export type Cell = string | number;
export type Table = {
  readonly title?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
};

/** A ratio or a count that is followed over time. */
export type Figure = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The mark: missed above this. */
  readonly atMost?: number;
  /** The mark: missed below this. */
  readonly atLeast?: number;
};

export type Findings = {
  /** How it was measured with these options. */
  readonly method: string;
  readonly tables: readonly Table[];
  readonly figures?: readonly Figure[];
  /** Errors among the requests, answers that never came: with one of these the other figures prove nothing. */
  readonly problems: readonly string[];
  /** What else stands in the JSON, such as each round and series over time. */
  readonly data?: unknown;
};

/** A benchmark whose options are bound: how the command line holds them side by side. */
export type Runnable = {
  readonly name: string;
  readonly question: string;
  readonly usual: Options;
  run(
    size: "usual" | "brief",
    changes: Options,
  ): Promise<{ readonly options: Options; readonly findings: Findings }>;
};

/** Hides the type of a benchmark's options; `changes` come from `readOptions` and so are of its own names and kinds. */
export function runnable<O extends Options>(benchmark: Benchmark<O>): Runnable {
  return {
    name: benchmark.name,
    question: benchmark.question,
    usual: benchmark.usual,
    async run(size, changes) {
      const options: O = { ...benchmark[size], ...changes };
      return { options, findings: await benchmark.measure(options) };
    },
  };
}

/** Options from `--name=value` by the names and kinds of `known`; throws a sentence about what is no option. */
export function readOptions(known: Options, flags: readonly string[]): Options {
  return Object.fromEntries(
    flags.map((flag) => {
      const [, name = "", text = ""] = /^--([^=]+)=(.+)$/.exec(flag) ?? [];
      const initial = known[name];
      if (initial === undefined)
        throw new Error(`${flag} is no option here. There is: ${optionList(known)}.`);
      const values = text.split(",").map(Number);
      if (values.some((value) => !Number.isFinite(value))) throw new Error(`${flag}: that is no number.`);
      if (typeof initial === "number" && values.length !== 1)
        throw new Error(`${flag}: it takes one number.`);
      return [name, typeof initial === "number" ? (values[0] ?? Number.NaN) : values];
    }),
  );
}

function optionList(options: Options): string {
  return Object.entries(options)
    .map(([name, value]) => `--${name}=${value}`)
    .join(" ");
}

/** Problems from counts of errors: none when there were none. */
export function errorsAt(where: string, errors: number): readonly string[] {
  return errors === 0 ? [] : [`${where}: ${errors} errors`];
}
