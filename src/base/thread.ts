// How threads speak: strings (JSON) both ways, but for the first message, which may carry a port.

/** One end of a conversation: a `Worker` seen from outside, the global scope seen from inside, or a port. */
export type Channel = {
  onmessage: unknown;
  postMessage(message: unknown): void;
};

/** This worker thread's own channel to the thread that started it. */
export const parentThread = globalThis as unknown as Channel;

/** Sets who receives what comes through a channel from now on. */
export function listen<T>(channel: Channel, receive: (message: T) => void): void {
  channel.onmessage = (event: { data: T }) => receive(event.data);
}
