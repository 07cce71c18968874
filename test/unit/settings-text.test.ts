import { parseSettings, settingsText } from "../../components/settings-text.ts";

test("settings are a line each, and come back as they were", () => {
  const settings = {
    critic: { gpus: 4, text: 'a = "b"\nc', list: [1, "x"], empty: {}, none: null, deep: { rate: 1e-8, on: false } },
    ntp: { gpus: 1 },
  };
  const text = settingsText({ ...settings, left: { out: undefined } });
  expect(text).toBe(
    'critic.gpus = 4\ncritic.text = "a = \\"b\\"\\nc"\ncritic.list = [1,"x"]\ncritic.empty = {}\ncritic.none = null\n' +
      "critic.deep.rate = 1e-8\ncritic.deep.on = false\nntp.gpus = 1",
  );
  expect(parseSettings(text)).toEqual(settings);
});

test.each(["critic", "critic.gpus = four"])("another text is refused: %s", (text) => {
  expect(() => parseSettings(text)).toThrow();
});
