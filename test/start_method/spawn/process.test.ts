import { processConformance } from '../../conformance/process.js';

processConformance('spawn');
