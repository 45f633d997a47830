import { poolMainConformance } from '../../conformance/pool_main.js';

poolMainConformance('spawn');
