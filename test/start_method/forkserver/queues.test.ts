import { queuesConformance } from '../../conformance/queues.js';

queuesConformance('forkserver');
