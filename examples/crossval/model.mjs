/** The model that fit.mjs makes and predict.mjs reads: a row of weights and a bias for each digit. */
export const classes = 10;
export const features = 64;

/** @param {string} text lines of `digit p0 p1 ...` */
export function readRows(text) {
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const [digit, ...pixels] = line.split(" ").map(Number);
      return { digit, pixels };
    });
}

/**
 * @param {readonly (readonly number[])[]} weights
 * @param {readonly number[]} pixels
 */
export function scores(weights, pixels) {
  return weights.map((row) => {
    let sum = row[features];
    for (let at = 0; at < features; at++) sum += row[at] * pixels[at];
    return sum;
  });
}

/** @param {readonly number[]} values */
export function softmax(values) {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
