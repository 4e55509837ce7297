package harden

// Validate returns everything that is wrong with the options by themselves,
// each error naming the option as it is written in HCL.
func (o Options) Validate() []error { return nil }
