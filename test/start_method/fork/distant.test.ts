/**
 * What shares memory, in a runtime that forbids ArrayBuffers on it; and its references, where processes do not open each
 * other's descriptors.
 */

import { withoutExternalBuffers, withoutProc } from '../../conformance/cases.js';
import { sharedctypesConformance } from '../../conformance/sharedctypes.js';
import { sharingConformance } from '../../conformance/sharing.js';
import { synchronizeConformance } from '../../conformance/synchronize.js';

const variant = withoutExternalBuffers('fork');
synchronizeConformance('fork', variant);
sharedctypesConformance('fork', variant);
sharingConformance('fork', variant);
sharingConformance('fork', withoutProc('fork'));
