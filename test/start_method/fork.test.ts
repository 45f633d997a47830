import { processConformance } from '../conformance/process.js';
import { sharedMemoryConformance } from '../conformance/shared_memory.js';

processConformance('fork');
sharedMemoryConformance('fork');
