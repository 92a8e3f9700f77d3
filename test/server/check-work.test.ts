import {
  asObjectId,
  asTaskId,
  type InputSpec,
  type OutputSpec,
  type TaskSpec,
  type Work,
} from "@rain/protocol";
import { expect, it } from "vitest";
import { checkWork } from "../../packages/server/src/core/check-work.ts";

// Objects 0 to 9 are blobs, from 10 on they are directories.
const [BLOB, OTHER, TREE] = [1, 2, 10];
const kindOf = (id: number) => (id < 10 ? "blob" : "directory");
const takes = (object: number, parts: Partial<InputSpec> = {}): InputSpec => ({
  object: asObjectId(object),
  ...parts,
});
const makes = (kind: "blob" | "directory", parts: Partial<OutputSpec> = {}): OutputSpec => ({
  object: asObjectId(50),
  label: "out",
  kind,
  contentType: "",
  keep: false,
  ...parts,
});
const check = (work: Work, inputs: readonly InputSpec[], outputs: readonly OutputSpec[]) => {
  const request = { cpus: 1, gpus: 0, memory: 0, named: {} };
  const spec: TaskSpec = { id: asTaskId(1), work, inputs, outputs, request };
  return checkWork(spec, kindOf);
};
const [blob, tree] = [makes("blob"), makes("directory")];
const slice = (path: string): Work => ({ type: "sliceDirectory", path });
const make = (...paths: string[]): Work => ({ type: "makeDirectory", paths });
const run: Work = { type: "execute", args: ["x"] };

it.each<[string, Work, InputSpec[], OutputSpec[]]>([
  ["load of a file", { type: "load", path: "/x" }, [], [blob]],
  ["load of a folder", { type: "load", path: "/x" }, [], [tree]],
  ["store", { type: "store", path: "/x" }, [takes(TREE)], []],
  ["sleep of a blob", { type: "sleep", seconds: 1 }, [takes(BLOB)], [blob]],
  ["sleep of a directory", { type: "sleep", seconds: 1 }, [takes(TREE)], [tree]],
  ["a slice that is a file", slice("a/b"), [takes(TREE)], [blob]],
  ["a slice that is a folder", slice("a/b/"), [takes(TREE)], [tree]],
  ["a made directory", make("a/b", "a/c"), [takes(BLOB), takes(TREE)], [tree]],
  ["an empty one", make(), [], [tree]],
  [
    "outputs in a mapped directory and at its place",
    run,
    [takes(TREE, { path: "d" })],
    [makes("directory", { path: "d" }), makes("directory", { path: "d/a" }), makes("blob", { path: "d/f" })],
  ],
  [
    "a project folder with another input, a shared one, and all that is made in it",
    run,
    [
      takes(TREE, { path: ".", write: true }),
      takes(BLOB, { path: "a/b" }),
      takes(TREE, { path: "d", shared: true }),
    ],
    [makes("directory", { capture: "files" }), makes("blob", { path: "a/c" })],
  ],
  ["an output at an input's place", run, [takes(BLOB, { path: "x" })], [makes("blob", { path: "x" })]],
])("takes %s", (_, work, inputs, outputs) => {
  expect(check(work, inputs, outputs)).toBeUndefined();
});

it.each<[RegExp, Work, InputSpec[], OutputSpec[]]>([
  [/load has no inputs, not 1/, { type: "load", path: "/x" }, [takes(BLOB)], [blob]],
  [/load has one output, not 0/, { type: "load", path: "/x" }, [], []],
  [/store has no outputs, not 1/, { type: "store", path: "/x" }, [takes(BLOB)], [blob]],
  [/store has one input, not 2/, { type: "store", path: "/x" }, [takes(BLOB), takes(OTHER)], []],
  [/sleep hands a directory on/, { type: "sleep", seconds: 1 }, [takes(TREE)], [blob]],
  [/concat joins blobs/, { type: "concat" }, [takes(BLOB), takes(TREE)], [blob]],
  [/concat joins blobs/, { type: "concat" }, [takes(BLOB)], [tree]],
  [/takes a directory, not a blob/, slice("a"), [takes(BLOB)], [blob]],
  [/names a folder/, slice("a/"), [takes(TREE)], [blob]],
  [/names a file/, slice("a"), [takes(TREE)], [tree]],
  [/makes a directory, not a blob/, make("a"), [takes(BLOB)], [blob]],
  [/has 2 paths for 1 inputs/, make("a", "b"), [takes(BLOB)], [tree]],
  [/a is used twice/, make("a", "a"), [takes(BLOB), takes(OTHER)], [tree]],
  [/a\/b\/c lies in a\/b/, make("a/b/c", "a/b"), [takes(BLOB), takes(TREE)], [tree]],
  [/stdin must be a blob/, { ...run, stdin: 0 }, [takes(TREE)], []],
  [
    /input 0 is the task's folder itself .* must be a directory/,
    run,
    [takes(BLOB, { path: ".", write: true })],
    [],
  ],
  [/which concat does not have/, { type: "concat" }, [takes(TREE, { path: ".", write: true })], [blob]],
  [/\. is used twice/, run, [takes(TREE, { path: "." }), takes(TREE, { path: "." })], []],
  [/input 0 is shared: it must be a directory/, run, [takes(BLOB, { path: "d", shared: true })], []],
  [/must be a directory, not a blob/, run, [], [makes("blob", { capture: "files" })]],
  [
    /two outputs are all files/,
    run,
    [],
    [makes("directory", { capture: "files" }), makes("directory", { capture: "files" })],
  ],
  [/load runs none of its own/, { type: "load", path: "/x" }, [], [makes("directory", { capture: "files" })]],
  [/stdout, stderr or files, and not both/, run, [], [makes("directory", { capture: "files", path: "x" })]],
  [/is stdout, which is no directory/, run, [], [makes("directory", { capture: "stdout" })]],
  [
    /output out is a directory, which has no content type/,
    run,
    [],
    [makes("directory", { path: "d", contentType: "text" })],
  ],
  [/input 0 is a directory, which has no content type/, run, [takes(TREE, { contentType: "text" })], []],
  [/d\/x lies in d/, run, [takes(TREE, { path: "d" }), takes(BLOB, { path: "d/x" })], []],
  [/x is used twice/, run, [takes(BLOB, { path: "x" }), takes(OTHER, { path: "x" })], []],
  [/x is used by two outputs/, run, [], [makes("blob", { path: "x" }), makes("blob", { path: "x" })]],
  [/x\/y lies in x, which is a file/, run, [takes(BLOB, { path: "x" })], [makes("blob", { path: "x/y" })]],
  [/x\/y lies in x, which is a file/, run, [takes(BLOB, { path: "x/y" })], [makes("blob", { path: "x" })]],
])("refuses: %s", (message, work, inputs, outputs) => {
  expect(check(work, inputs, outputs)).toMatch(message);
});
