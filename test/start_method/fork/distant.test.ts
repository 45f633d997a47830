/** What shares words, in a runtime that forbids ArrayBuffers on shared memory. */

import { withoutExternalBuffers } from '../../conformance/cases.js';
import { sharedctypesConformance } from '../../conformance/sharedctypes.js';
import { sharingConformance } from '../../conformance/sharing.js';
import { synchronizeConformance } from '../../conformance/synchronize.js';

const variant = withoutExternalBuffers('fork');
synchronizeConformance('fork', variant);
sharedctypesConformance('fork', variant);
sharingConformance('fork', variant);
