/** What test/examples.test.ts uses of example.mjs. */

export const execArgv: string[];
export function exampleFiles(): string[];
export function makeProgram(number: string): { file: string; remove: () => void };
