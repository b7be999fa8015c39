/** What a message of a {@link Connection} is: an answer, a failed answer, a bus event, or the end of the bus. */
export type Status = 0 | 1 | 2 | 3;

/**
 * The native half of one API object: a background thread with the connections to one daemon.
 *
 * The thread starts with the first `send`. Every `send` is answered by exactly one message with its id.
 */
export class Connection {
  /** `config` is JSON: `{"home": string, "executable": string | null, "env"?: {[name: string]: string}}`. */
  constructor(config: string, onMessage: (id: number, status: Status, text: string, extra: string) => void);
  /** Asks for `op`; `payload` is JSON text. */
  send(id: number, op: string, name: string, payload: string): void;
  /** Connects if a daemon serves already: the JSON text that `connect` answers, else null. Launches none, and waits for nothing. */
  attach(): string | null;
  /** Keeps the event loop alive from now on. */
  ref(): void;
  /** Lets the event loop end from now on; this is how a connection begins. */
  unref(): void;
  /** Ends the thread; what is still outstanding is answered with an error. */
  close(): void;
}

/**
 * Parses, checks or resolves declarations here and now, without a daemon. Texts are JSON, as for `Connection.send`; the message of what it
 * throws is JSON, too.
 */
export function offline(name: 'parse' | 'verify' | 'resolve', payload: string): string;

/** Absolute path of the native `pm2` executable that belongs to the addon. */
export const executable: string;
