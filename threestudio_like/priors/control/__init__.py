"""Control of a prior by pictures of geometry: ControlNet and T2I-Adapter."""
