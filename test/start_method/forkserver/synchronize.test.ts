import { synchronizeConformance } from '../../conformance/synchronize.js';

synchronizeConformance('forkserver');
