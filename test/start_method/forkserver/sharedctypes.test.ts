import { sharedctypesConformance } from '../../conformance/sharedctypes.js';

sharedctypesConformance('forkserver');
