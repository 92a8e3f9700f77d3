/** Where in a message: keys and indexes from its root. */
export type Place = PropertyKey[];

/** `tasks[3].outputs[0].path: `, or nothing at the root. Keys may be hostile: shown escaped and cut. */
export function formatPlace(place: readonly PropertyKey[]): string {
  let text = "";
  for (const step of place) {
    if (typeof step === "number") text += `[${step}]`;
    else if (typeof step === "string" && /^[A-Za-z_]\w{0,63}$/.test(step))
      text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(String(step).slice(0, 64))}]`;
  }
  return text === "" ? "" : `${text}: `;
}
