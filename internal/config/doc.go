// Package config is the configuration of podgate: Load puts defaults, the file,
// the environment and flags together and says everything that is wrong at once,
// each with what to write instead; Advise says what is likely to be in the way
// although the values are sound; List and Render show what is in force and where
// it came from.
//
// Each setting is one field of Config, whose tag is its key. The environment,
// the example and what is shown follow from that, so that none can be forgotten.
package config
