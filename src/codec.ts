/**
 * The codec, as a part of the package that is loaded when the first value is taken apart or put together: it is
 * a third of the code that an import would have to compile. It is an entry of its own (tsdown.config.ts).
 *
 * Only reduction.ts loads it, by lazyPart().
 */

export { decode } from './codec/decoder.js';
export { encode } from './codec/encoder.js';
export { registerInternal } from './codec/hooks.js';
export { hasPrivateMembers, referenceOf } from './references.js';
