/** How often the same is said, milliseconds. */
const EVERY_MS = 10_000;
/** Texts that are kept in mind; what strangers do must not fill the memory. */
const MAX_TEXTS = 256;

/** Says what may happen a thousand times a second: at once, and then how often, every ten seconds. */
export class Notices {
  readonly #say: (text: string) => void;
  readonly #more: Map<string, number> = new Map();

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  add(text: string): void {
    const more = this.#more.get(text);
    if (more !== undefined) {
      this.#more.set(text, more + 1);
      return;
    }
    if (this.#more.size >= MAX_TEXTS) return;
    this.#say(text);
    this.#more.set(text, 0);
    const again = setTimeout(() => {
      const count = this.#more.get(text) ?? 0;
      this.#more.delete(text);
      if (count > 0) this.#say(`${text} (${count} more times)`);
    }, EVERY_MS);
    again.unref();
  }
}
