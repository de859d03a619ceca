package main

// dispatchChild runs this process as a part of a pod when it was started as
// one, and then never returns.
func dispatchChild() {}
