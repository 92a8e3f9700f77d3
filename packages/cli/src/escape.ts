/**
 * Text of others (names, labels, messages) may hold terminal commands, line breaks or characters that reverse the
 * reading direction. Shown, they are inert: `\n`, `\t`, `\u001b`.
 */
// eslint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Escapes every control and direction character. The result is one line; escaped JSON stays the same JSON. */
export const escapeText = (text: string): string =>
  text.replace(
    unsafe,
    (char) => short[char] ?? `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
