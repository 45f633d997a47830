/** A worker of piscina and tinypool: one function that is told which. */

import { busy, trivial } from './pool.tasks.mjs';

const tasks = { busy, trivial };

export default ([name, argument]) => tasks[name](argument);
