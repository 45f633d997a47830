import { sharedMemoryConformance } from '../../conformance/shared_memory.js';

sharedMemoryConformance('forkserver');
