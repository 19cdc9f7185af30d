// The product's version, read from package.json: the one place it is written down.
// A JSON import is inlined by the build, so the executable needs no file beside it.
import manifest from "../../package.json" with { type: "json" };

/** Semantic version without a leading `v`, such as `0.1.0`. */
export const VERSION: string = manifest.version;
