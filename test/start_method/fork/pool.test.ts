import { poolConformance } from '../../conformance/pool.js';

poolConformance('fork');
