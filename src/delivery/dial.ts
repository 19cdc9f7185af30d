// Makes one connection to a receiver, at one of its addresses. With several, the next is tried when one fails, or has not
// let us in after 300 ms (RFC 8305 in spirit); the first that does is the one, and the others are dropped. Over TLS the
// connection counts only when its certificate names the URL's host and leads to an authority that we trust. Sockets are
// node's: Bun's own cost the same (7 µs an exchange), but one that is still connecting cannot be closed.
import net, { type Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import type { Route } from "./route.ts";

const NEXT_ADDRESS_MS = 300;

export interface DialEvents {
  /** It may be written to. */
  opened(socket: Socket): void;
  failed(error: Error | null): void;
}

/** Calls one of the events, once, and later than it is made. */
export class Dial {
  readonly #to: Route;
  readonly #events: DialEvents;
  readonly #untried: string[];
  readonly #sockets = new Set<Socket>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(to: Route, addresses: readonly string[], events: DialEvents) {
    this.#to = to;
    this.#events = events;
    this.#untried = [...addresses];
    this.#tryNext();
  }

  /** No event is called any more. */
  cancel(): void {
    clearTimeout(this.#timer);
    for (const socket of this.#sockets) this.#drop(socket);
  }

  #tryNext(): void {
    clearTimeout(this.#timer);
    const address = this.#untried.shift();
    if (address === undefined) return;
    const socket = this.#to.protocol === "https:" ? openTls(this.#to, address) : openPlain(this.#to, address);
    this.#sockets.add(socket);
    socket.once("connect", () => this.#reached(socket));
    socket.on("error", (error) => this.#lost(socket, error));
    socket.on("close", () => this.#lost(socket, null));
    if (this.#untried.length > 0) this.#timer = setTimeout(() => this.#tryNext(), NEXT_ADDRESS_MS);
  }

  /** Somebody is there: what happens from here on is the receiver's word, and no other address is asked for a better. */
  #reached(socket: Socket): void {
    if (!this.#sockets.has(socket)) return;
    clearTimeout(this.#timer);
    this.#untried.length = 0;
    for (const other of this.#sockets) if (other !== socket) this.#drop(other);
    if (socket instanceof tls.TLSSocket) socket.once("secureConnect", () => this.#secured(socket));
    else this.#opened(socket);
  }

  /** An untrusted one ends in an error before this; asking again costs nothing. */
  #secured(socket: TLSSocket): void {
    if (socket.authorized) this.#opened(socket);
    else socket.destroy(socket.authorizationError);
  }

  #opened(socket: Socket): void {
    if (this.#sockets.delete(socket)) this.#events.opened(socket);
  }

  #lost(socket: Socket, error: Error | null): void {
    if (!this.#sockets.delete(socket)) return;
    if (this.#untried.length > 0) this.#tryNext();
    else if (this.#sockets.size === 0) this.#events.failed(error);
  }

  #drop(socket: Socket): void {
    this.#sockets.delete(socket);
    socket.destroy();
  }
}

function openPlain({ port }: Route, host: string): Socket {
  return net.connect({ host, port, noDelay: true });
}

function openTls({ port, host: name, servername }: Route, host: string): TLSSocket {
  return tls.connect({
    ...{ host, port, noDelay: true },
    ...(servername === undefined ? {} : { servername }),
    rejectUnauthorized: true, // said aloud, or NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would turn it off
    checkServerIdentity: (_shown, certificate) => tls.checkServerIdentity(name, certificate),
  });
}
