export { readAnswer, type Take } from "./answer.ts";
export { CHUNK_BYTES, openBytes, type Bytes, type BytesRequest } from "./read.ts";
export { sendFile } from "./send.ts";
