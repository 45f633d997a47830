import { connectionConformance } from '../../conformance/connection.js';

connectionConformance('forkserver');
