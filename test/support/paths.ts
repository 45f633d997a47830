/** Where things are. */

import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../..');
export const fixtures = path.join(root, 'test/fixtures');

/** Sources that a test gives as text are written here: inside the package, so that self-reference works. */
export const temporary = path.join(root, 'test/.tmp');
