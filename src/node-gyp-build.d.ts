/** node-gyp-build carries no types; this is the one signature that native.ts uses. */
declare module 'node-gyp-build' {
  /** Loads the addon of the package rooted at `directory`: a prebuilt one, else build/Release. */
  export default function load(directory: string): unknown;
}
