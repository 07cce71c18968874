/** Asks a question once and remembers the answer; a failure is not remembered, because an outage passes. */
export class Once<T> {
  private readonly ask: () => Promise<T>;
  private answer: Promise<T> | undefined;

  constructor(ask: () => Promise<T>) {
    this.ask = ask;
  }

  async get(): Promise<T> {
    this.answer ??= this.ask();
    try {
      return await this.answer;
    } catch (error) {
      this.answer = undefined;
      throw error;
    }
  }
}
