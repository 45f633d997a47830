/** The addon itself, found as the package finds it. */
import path from 'node:path';
import nodeGypBuild from 'node-gyp-build';

const root = path.join(import.meta.dirname, '../..');
export const nativePath = nodeGypBuild.path(root);
export const native = nodeGypBuild(root);
