import { randomInt } from "node:crypto";

/** Names for runs that were given none: `calm-otter-042`. */
const adjectives: readonly string[] = (
  "able amber bold brave brisk bright calm candid clever cool cosy curious deft eager early easy fair fine fleet fond " +
  "frank fresh gentle glad golden grand green happy hardy honest humble jolly keen kind late light lively loyal lucky " +
  "mellow merry mild modest neat nimble noble patient plain polite proud quick quiet rapid ready rosy round silent " +
  "silver simple sleek small smart snug solid steady still strong sunny swift tall tame tidy true vivid warm wise witty young"
).split(" ");
const animals: readonly string[] = (
  "adder ant badger bat bear beaver bee beetle bison boar camel carp cat cicada clam cod cougar crab crane cricket crow " +
  "deer dove duck eagle eel elk falcon ferret finch fox frog gecko goat goose gull hare hawk hedgehog heron horse ibex " +
  "jackal jay kestrel kite koala lark lemur lion lizard llama lynx magpie marten mole moose moth mouse newt orca otter " +
  "owl panda perch pike pony puffin quail rabbit raven robin salmon seal shark shrew skink sloth snail sparrow spider " +
  "squid stork swan tapir tern tiger toad trout turtle viper vole walrus wasp whale wolf wren yak zebra"
).split(" ");

const pick = (words: readonly string[]): string => words[randomInt(words.length)] ?? "";

/** One of some six million names. */
export const randomName = (): string =>
  `${pick(adjectives)}-${pick(animals)}-${String(randomInt(1_000)).padStart(3, "0")}`;
