import { poolCrashes } from '../conformance/pool_crash.js';

poolCrashes('forkserver');
