import { connectionConformance } from '../../conformance/connection.js';

connectionConformance('fork');
