/**
 * The top level of the package: Python's `multiprocessing` namespace, as named exports and, all in one
 * object, as the default export.
 */

import * as errors from './errors.js';
import { native } from './native.js';

export * from './errors.js';

void native;

export default { ...errors };
