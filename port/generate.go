package port

//go:generate go tool mockgen -destination portmock/portmock.go -package portmock github.com/refreshd/refreshd/port Store,RefreshTokens,Revocations,Directory,APIKeys,Keys,Events,Janitor,Jobs,Signer
