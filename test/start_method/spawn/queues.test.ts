import { queuesConformance } from '../../conformance/queues.js';

queuesConformance('spawn');
