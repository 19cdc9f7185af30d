// One open connection to a receiver, and who listens to it now: an exchange, the pool, or nobody any more.
import type { Socket } from "node:net";

export interface ConnectionOwner {
  received(bytes: Buffer, connection: Connection): void;
  /** Nothing more comes: the other side ended it, or, with an error, it broke. Called once. */
  ended(error: Error | null, connection: Connection): void;
}

export class Connection {
  readonly origin: string;
  /** Whether it has carried a request before the one that it carries, or waits for. */
  isKept = false;
  /** Of performance.now(), when it was given to the pool. */
  idleSinceMs = 0;
  readonly #socket: Socket;
  #owner: ConnectionOwner | null = null;

  /** @param socket connected, and over TLS verified */
  constructor(origin: string, socket: Socket) {
    this.origin = origin;
    this.#socket = socket;
    socket.unref(); // an attempt's deadline keeps the process alive, an idle connection does not
    socket.on("data", (bytes: Buffer) => this.#owner?.received(bytes, this));
    socket.on("end", () => this.#ended(null));
    socket.on("error", (error) => this.#ended(error));
    socket.on("close", () => this.#ended(null));
  }

  send(request: string | Buffer, owner: ConnectionOwner): void {
    this.#owner = owner;
    this.#socket.write(request);
  }

  /** Whether the system has taken all of what was to be sent. */
  get isSent(): boolean {
    return this.#socket.writableLength === 0;
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  rest(owner: ConnectionOwner): void {
    this.#owner = owner;
    this.isKept = true;
  }

  /** Its owner hears no more of it. */
  destroy(): void {
    this.#owner = null;
    this.#socket.destroy();
  }

  #ended(error: Error | null): void {
    const owner = this.#owner;
    this.#owner = null;
    owner?.ended(error, this);
  }
}
