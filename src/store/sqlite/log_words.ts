// What threads say to each other about a write-ahead log that has grown long.

/** The writer to the main thread: have it copied. */
export const LARGE_LOG = "large log";
/** The main thread's answer, when that was done. */
export const LOG_COPIED = "log copied";
/** The main thread to the thread of checkpoints, which before that was told the file. */
export const STOP = "stop";
/** Its answer, or its own word when the log is short. */
export const ENDED = "ended";
