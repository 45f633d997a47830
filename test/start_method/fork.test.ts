import { processConformance } from '../conformance/process.js';
import { reductionConformance } from '../conformance/reduction.js';
import { sharedMemoryConformance } from '../conformance/shared_memory.js';
import { sharedctypesConformance } from '../conformance/sharedctypes.js';

processConformance('fork');
sharedMemoryConformance('fork');
sharedctypesConformance('fork');
reductionConformance('fork');
