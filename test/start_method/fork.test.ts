import { processConformance } from '../conformance/process.js';
import { sharedctypesConformance } from '../conformance/sharedctypes.js';

processConformance('fork');
sharedctypesConformance('fork');
