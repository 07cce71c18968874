/** What looks like a secret in a text. The answer names the kind and never the text. */

/** Secrets whose makers mark them. */
const MARKED: readonly (readonly [kind: string, pattern: RegExp])[] = [
  ["an access key of AWS", /\b(AKIA|ASIA)[0-9A-Z]{16}\b/],
  ["a private key", /-----BEGIN [A-Z ]*PRIVATE KEY/],
  ["a token of Hugging Face", /\bhf_[A-Za-z0-9]{30,}/],
  ["a token of GitHub", /\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,})/],
  ["a token of GitLab", /\bglpat-[\w-]{20,}/],
  ["a token of Slack", /\bxox[abprs]-[\w-]{10,}/],
  ["a token of Pulumi", /\bpul-[0-9a-f]{40}\b/],
  ["a token of npm", /\bnpm_[A-Za-z0-9]{36}\b/],
  ["an API key", /\b(sk-[\w-]{20,}|AIza[\w-]{35})/],
  ["a signed token", /\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\./],
  ["a password in an address", /\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]+:[^\s/:@$<{]+@/],
];

/** `DB_PASSWORD=...`, `"api_key": "..."`, `PASSWORD '...'`. */
const ASSIGNED =
  /(?:^|[^A-Za-z])([A-Za-z_-]*(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key)(?:[_-](?:id|key))?)["']?(?:[ \t]*(?:[=:]|:=)[ \t]*|[ \t]+(?=['"]))(["']?)([^\s"',;)}\]]+)/gi;
const KEYWORD = /password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key/i;
/** Not a value but where one comes from: a variable, a call, a template, a path, a name of AWS. */
const TAKEN_FROM = /^([$@%<{[(/]|arn:|\/|None\b|null\b|true\b|false\b|""|'')|[({[]|\.[a-z]/i;
const SHORTEST_VALUE = 4;

/** Long enough for a key, and of the characters that keys are encoded in. */
const CANDIDATE = /[A-Za-z0-9+/_-]{32,}={0,2}/g;
/** Bits a character: words and paths have fewer, random text in base64 has about five. */
const RANDOM_BITS = 4.25;
/** `CodeContests2024`, `3e`, `README`: parts of names. */
const WORD = /^(([A-Z]?[a-z]+)*\d{0,4}|\d+[a-z]{0,2}|[A-Z]+\d{0,2})$/;
const CERTIFICATE = /-----BEGIN (CERTIFICATE|PUBLIC KEY)-----[\s\S]*?-----END \1-----/g;
/** Names that AWS makes up, which look like keys or like assignments: ARNs (`:secret:name-AbCdEf`), and disks on a host. */
const NAMES_OF_AWS = /\barn:aws[a-z-]*:[\w:/.*+=,@-]+|\bnvme-Amazon_Elastic_Block_Store_vol[0-9a-f]+/g;

/** Words of a name: `HF_TOKEN` and `hfToken` have a `token`, `tokenizer` has none. */
export function namesSecret(name: string): boolean {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  const has = (...wanted: string[]) => wanted.some((word) => words.includes(word));
  return (
    words.some((word) => /(password|passwd|passphrase)$/.test(word)) ||
    has("pwd", "secret", "token", "apikey", "credentials") ||
    (has("key") && has("api", "access", "private", "secret"))
  );
}

/** The kind of secret that a text seems to hold; undefined when it seems to hold none. */
export function secretIn(text: string): string | undefined {
  const own = text.replace(CERTIFICATE, "");
  const marked = MARKED.find(([, pattern]) => pattern.test(own));
  if (marked !== undefined) return marked[0];
  const rest = own.replace(NAMES_OF_AWS, "");
  for (const [, name, quote, value] of rest.matchAll(ASSIGNED)) {
    const handedOn = quote === "" && value === name; // password=password, of a call
    if (value !== undefined && value.length >= SHORTEST_VALUE && !handedOn && !TAKEN_FROM.test(value))
      return `a literal value of ${KEYWORD.exec(name ?? "")?.[0].toLowerCase()}`; // the rest of the name may be anything
  }
  return (rest.match(CANDIDATE) ?? []).some(isRandom) ? "random text as long as a key" : undefined;
}

function isRandom(text: string): boolean {
  // Hashes are of hexadecimal digits, and everywhere; names are words.
  if (!/[a-z]/.test(text) || !/[A-Z]/.test(text) || !/\d/.test(text)) return false;
  if (text.split(/[-_/+]/).every((word) => WORD.test(word))) return false;
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  const bits = [...counts.values()].reduce(
    (sum, count) => sum - (count / text.length) * Math.log2(count / text.length),
    0,
  );
  return bits > RANDOM_BITS;
}
