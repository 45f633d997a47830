import { reductionConformance } from '../../conformance/reduction.js';

reductionConformance('forkserver');
