/** What test/release.test.ts uses of elf.mjs. */

export interface Requirements {
  libraries: string[];
  versions: Record<string, string>;
  unversioned: string[];
  stripped: boolean;
}
export function requirementsOf(file: string): Requirements;
export function problemsOf(requirements: Requirements): string[];
