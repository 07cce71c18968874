/** Waits until `condition` holds. Bounded, so that a defect fails its test and never keeps jest from ending. */
export async function eventually(condition: () => boolean | Promise<boolean>, milliseconds = 3_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${milliseconds} ms in vain for: ${condition}`);
    await new Promise((wake) => setTimeout(wake, 2));
  }
}
