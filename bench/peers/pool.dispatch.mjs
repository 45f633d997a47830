/** A worker of piscina and tinypool: one function that is told which. */

import * as tasks from './pool.tasks.mjs';

export default ([name, argument]) => tasks[name](argument);
