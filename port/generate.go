package port

//go:generate go tool mockgen -destination portmock/portmock.go -package portmock github.com/refreshd/refreshd/port Store,RefreshTokens,Revocations,Tenants,Applications,APIKeys,Keys,KeyChanges,Events,Reach,Janitor,Jobs,Once,Signer
