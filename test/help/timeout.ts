// Bun's 5 s are too short for a test that starts processes on a busy machine. No test measures time: this is only
// when it is given up.
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(60_000);
