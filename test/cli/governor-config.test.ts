import { describe, expect, test } from "vitest";
import { parseGovernorConfig } from "../../packages/cli/src/governor-config.ts";

const parse = (text: string): ReturnType<typeof parseGovernorConfig> =>
  parseGovernorConfig(text, "/etc/rain/g.toml");

describe("the configuration of a governor", () => {
  test("everything that it may say", () => {
    const config = parse(`
      name = "gpu-1"
      cost_per_hour = 12.5
      pin_cpus = true
      [labels]
      instance_type = "4_v100_16gb"
      "a zone" = "b"
      [resources]
      cpus = -1
      gpus = 2
      memory = "1.5G"
      [resources.named]
      licence = 3
      [environments.torch]
      prefix = ["conda", "run", "-n", "torch"]
      [environments]
      plain.prefix = ["nice"]
      [executors.py]
      command = ["python3", "/opt/rain_executor.py"]
      env = { OMP_NUM_THREADS = "1" }
      concurrency = 2
      idle_s = 0.5
      [executors.plain]
      command = ["plain"]
      [folders]
      work = "data"
      logs = "/var/log/rain"
      [limits]
      kill_grace_s = 0.5
      capture = 1_048_576
      transfers = 4
      cache_size = "2G"
    `);
    expect(config).toEqual({
      name: "gpu-1",
      costPerHour: 12.5,
      pinCpus: true,
      labels: { instance_type: "4_v100_16gb", "a zone": "b" },
      cpus: -1,
      gpus: 2,
      memory: 1.5 * 2 ** 30,
      named: { licence: 3 },
      environments: { torch: ["conda", "run", "-n", "torch"], plain: ["nice"] },
      executors: {
        py: {
          command: ["python3", "/opt/rain_executor.py"],
          env: { OMP_NUM_THREADS: "1" },
          concurrency: 2,
          idleS: 0.5,
        },
        plain: { command: ["plain"] },
      },
      workdir: "/etc/rain/data",
      logdir: "/var/log/rain",
      killGraceMs: 500,
      captureBytes: 1_048_576,
      transfers: 4,
      cacheBytes: 2 * 2 ** 30,
    });
  });

  test("nothing, and what is to be detected", () => {
    expect(parse("")).toMatchObject({ labels: {}, named: {}, environments: {}, cpus: undefined });
    const detect = parse('resources = { cpus = "detect", gpus = "detect", memory = "detect" }');
    expect(detect).toMatchObject({ cpus: "detect", gpus: undefined, memory: undefined });
  });

  test.each([
    ["nmae = 'x'", ":1: nmae is not known; known here: name, cost_per_hour, pin_cpus, on_lost, labels"],
    [
      "\n\n[resources]\n# many\ncpu = 4",
      ":5: resources.cpu is not known; known here: cpus, gpus, memory, named",
    ],
    ["[limits]\ntransfers = 4\ncapture = [\n  1,\n]", ":3: limits.capture must be bytes"],
    ["[labels]\na = 'b'\n\nc = 4", ":4: labels.c must be a text in quotes"],
    ["[environments.torch]\nprefix = 'conda'", ":2: environments.torch.prefix must be a list of words"],
    ["[environments.torch]\nprefix = []", ":2: environments.torch.prefix has no word"],
    [
      "[environments.torch]\nprefix = [\n'a',\n1]",
      ":2: environments.torch.prefix.1 must be a text in quotes",
    ],
    ["[environments.torch]\nprefx = ['x']", ":2: environments.torch.prefx is not known; known here: prefix"],
    ["\n[environments.torch]\n\n", ":2: environments.torch.prefix must be a list of words"],
    ["[environments.'a b']\nprefix = ['x']", ":1: environments.a b an environment's name has letters"],
    ["[executors.py]\ncommand = 'python3'", ":2: executors.py.command must be a list of words"],
    ["[executors.py]\ncommand = []", ":2: executors.py.command has no word"],
    [
      "[executors.py]\ncomand = ['x']",
      ":2: executors.py.comand is not known; known here: command, env, concurrency, idle_s",
    ],
    ["[executors.py]\ncommand = ['x']\nenv = { 'a-b' = 'x' }", ":3: executors.py.env.a-b a variable's name"],
    ["pin_cpus = 1", ":1: pin_cpus must be true or false"],
    ["x = 1 # a\nname = 'n'", ":1: x is not known"],
    ["name = ''", ":1: name the name has letters"],
    ["[resources]\ncpus = 1.5", ':2: resources.cpus must be a number of cpus, -N for all but N, or "detect"'],
    ["[resources]\ngpus = -1", ":2: resources.gpus must be a whole number of GPUs"],
    ["[resources]\nmemory = '4 apples'", ":2: resources.memory must be bytes"],
    ["[resources.named]\nlab = '2'", ":2: resources.named.lab must be an amount"],
    ["[resources.named]\n1st = 2", ":2: resources.named.1st a resource name starts with a letter"],
    ["cost_per_hour = -1", ":1: cost_per_hour must be a number from 0"],
    ["labels = 'x'", ":1: labels"],
    ["[limits]\nkill_grace_s = 1\nkill_grace_s = 2", ":3: not valid TOML: "],
    ["name = \n", ":1: not valid TOML: "],
    ["a = 1\nb = 'x\n", ":2: not valid TOML: "],
  ])("%j is refused with file, line and key", (text, message) => {
    expect(() => parse(text)).toThrow(`/etc/rain/g.toml${message}`);
  });
});
