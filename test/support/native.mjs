/** The addon itself, found as the package finds it. */
import path from 'node:path';
import nodeGypBuild from 'node-gyp-build';

export const native = nodeGypBuild(path.join(import.meta.dirname, '../..'));
